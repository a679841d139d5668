#!/bin/sh
# Transcribe a recording and print it: ./curl.sh RECORDING [FORMAT]. Formats: text, srt, vtt, tsv, json, ndjson.
set -eu
recording=${1:?usage: ./curl.sh RECORDING [FORMAT]}
format=${2:-text}
url=${SERVICE:-http://127.0.0.1:8000}/transcribe

quoted=$(printf '%s' "$recording" | sed 's/["\\]/\\&/g') # a name may contain quotes

set -- --silent --show-error --fail-with-body --form "file=@\"$quoted\"" --form "response_format=$format"
if [ -n "${ASRSERVICE_API_KEY:-}" ]; then set -- "$@" --header "Authorization: Bearer $ASRSERVICE_API_KEY"; fi

if [ "$format" = ndjson ]; then exec curl "$@" --no-buffer "$url"; fi # print each line at once

# After a 429 or a 503, --retry waits for Retry-After seconds and tries again. The file then has the last response only.
response=$(mktemp)
trap 'rm -f "$response"' EXIT
if curl "$@" --retry 10 --retry-max-time 600 --output "$response" "$url"; then
  cat "$response"
else
  status=$?
  cat "$response" >&2
  exit "$status"
fi
