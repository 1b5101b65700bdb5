#!/bin/sh
# Counts the instructions of fetching and of evaluating, for each case of benches/eval or for those that
# contain a text: `benches/instructions.sh [text]`. Needs valgrind. The counts are the same in every run,
# which times are not: compare two versions by comparing their tables.
set -eu
cd "$(dirname "$0")/.."

# PROGRAM may name a build that is there already.
program=${PROGRAM:-$(cargo bench --bench eval --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"name":"eval".*"executable":"\([^"]*\)".*/\1/p' | tail -1)}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

printf '%14s %14s  %s\n' fetch evaluate case
"$program" --cases | grep -F -- "${1:-}" | while IFS= read -r case; do
    valgrind --quiet --tool=callgrind --callgrind-out-file="$folder/out" \
        --toggle-collect=eval::fetch_and_eval --dump-after=eval::Bench::fetch \
        "$program" --count "$case" >/dev/null 2>&1
    # The first dump is that of fetching; what is left at the end is evaluating.
    fetch=$(sed -n 's/^summary: *//p' "$folder/out.1")
    evaluate=$(sed -n 's/^summary: *//p' "$folder/out")
    printf '%14s %14s  %s\n' "$fetch" "$evaluate" "$case"
    rm -f "$folder"/out*
done
