#!/bin/sh
# Registries of 100,000 and of 1,000,000 rows, and what each thing takes with them; DuckDB's bare anti-join over as many
# rows at the end, for scale (`pip install duckdb`). `sh scripts/bench/registry.sh FOLDER`, after
# `cargo build --release --example bench_registry`. About 2 GB.
set -eu
folder=${1:?expected a folder for the registries}
bench=target/release/examples/bench_registry
mkdir -p "$folder"
for rows in 100000 1000000; do
    registry=$folder/$rows.db
    [ -e "$registry" ] || "$bench" make "$rows" "$registry"
    echo "$rows rows: name, time by the clock, of the processor, most memory"
    for name in open decide explain reach-artist reach-source reach-image opt-out decide-each; do
        "$bench" run "$name" "$registry"
    done
done
cp "$folder/1000000.db" "$folder/listed.db"
echo "1000000 rows with an opt-out list of a million entries"
for name in list decide explain; do
    "$bench" run "$name" "$folder/listed.db"
done
python3 - <<'PYTHON'
import time
import duckdb

connection = duckdb.connect()
connection.execute("SET threads = 2")
connection.execute("CREATE TABLE images AS SELECT range AS id, hash(range) AS digest FROM range(1000000)")
connection.execute("CREATE TABLE refused AS SELECT range * 37 AS id FROM range(20000)")
for _ in range(3):
    started = time.perf_counter()
    left = connection.execute("SELECT count(*) FROM images ANTI JOIN refused USING (id)").fetchone()[0]
    print(f"duckdb {duckdb.__version__} anti-join: {left} left in {(time.perf_counter() - started) * 1000:.1f} ms")
PYTHON
