#!/bin/sh
# Transcribes a recording and prints it: ./curl.sh RECORDING [FORMAT], a format such as text, srt, vtt, tsv, json, ndjson.
set -eu
recording=${1:?the recording comes first: ./curl.sh RECORDING [FORMAT]}
format=${2:-text}
url=${SERVICE:-http://127.0.0.1:8000}/transcribe

set -- --silent --show-error --fail-with-body --form "file=@\"$recording\"" --form "response_format=$format"
if [ -n "${ASRSERVICE_API_KEY:-}" ]; then set -- "$@" --header "Authorization: Bearer $ASRSERVICE_API_KEY"; fi

if [ "$format" = ndjson ]; then exec curl "$@" --no-buffer "$url"; fi # prints each line as it comes

# --retry comes again after the Retry-After of a 429 or a 503; in a file, the last answer replaces those before it.
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
if curl "$@" --retry 10 --retry-max-time 600 --output "$answer" "$url"; then
  cat "$answer"
else
  status=$?
  cat "$answer" >&2
  exit "$status"
fi
