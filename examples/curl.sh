#!/bin/sh
# Transcribes a recording and prints it: ./curl.sh RECORDING [FORMAT], a format such as text, srt, vtt, tsv, json, ndjson.
set -eu
recording=$1
format=${2:-text}

set --
if [ -n "${API_KEY:-}" ]; then set -- --header "Authorization: Bearer $API_KEY"; fi

# --retry comes again after the Retry-After of a 429 or a 503; --no-buffer shows ndjson's lines as they come.
exec curl --silent --show-error --fail-with-body --no-buffer --retry 10 --retry-max-time 600 "$@" \
  --form "file=@\"$recording\"" --form "response_format=$format" "${SERVICE:-http://127.0.0.1:8000}/transcribe"
