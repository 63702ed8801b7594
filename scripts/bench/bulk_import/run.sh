#!/bin/sh
# Brings in an opt-out list of a million generated lines, of every kind: `run.sh ASSENT [LINES]`.
# Prints the wall time, the peak memory and the sizes; then brings the list in again, which must change nothing.
set -eu
assent=$1
lines=${2:-1000000}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
awk -v lines="$lines" 'BEGIN {
    print "url,sha256,artist,phash"
    for (i = 0; i < lines; i++) {
        hash = sprintf("%08x%08x%08x%08x%08x%08x%08x%08x", i * 2654435761 % 4294967296, i, i * 40503 % 4294967296, i, i, i, i, i)
        if (i % 4 == 0) printf "https://host%d.example/works/%d/%x.png,,,\n", i % 9973, i % 131, i * 7919
        else if (i % 4 == 1) printf ",%s,,\n", hash
        else if (i % 4 == 2) printf ",,Artist %x of %d,\n", i, i % 77
        else printf ",,,%s\n", hash
    }
}' > "$folder/list.csv"
ls -l "$folder/list.csv" | awk '{ print "list: " $5 " bytes" }'
for turn in first again; do
    echo "$turn:"
    /usr/bin/time -f '%e s, %U s of processor, %M KiB at the peak' \
        "$assent" -q --registry "$folder/assent.db" opt-out --list "$folder/list.csv"
done
ls -l "$folder/assent.db" | awk '{ print "registry: " $5 " bytes" }'
