#!/bin/sh
# Ingest in files a second: `assent ingest` against pipeline.py, each from nothing, with the same number of workers.
# usage: run.sh ASSENT FOLDER [WORKERS]      e.g. run.sh target/release/assent /usr/share/openclipart/png 2
set -eu
assent=$1
folder=$2
workers=${3:-2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
here=$(dirname "$0")
# Both read from the page cache.
find "$folder" -name '*.png' -exec cat {} + > /dev/null
# Files that both refuse are part of the folder; exit code 1 says that there were some.
"$assent" --registry "$work/assent.db" ingest --jobs "$workers" "$folder" | tail -n 1 || true
python3 "$here/pipeline.py" "$folder" "$work/python.db" "$workers"
