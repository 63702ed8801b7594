#!/usr/bin/env bash
# Trains the embedded base again, from nothing: fetches the public-domain drawings of Openclipart as Debian packages them,
# prepares them, registers them, freezes the training set and trains on exactly that. About an hour on two free cores;
# what is stopped goes on when it is run again.
#
# usage: scripts/retrain_base.sh [WORK]      (default: target/base; the model is in WORK/model afterwards)
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-target/base}
mkdir -p "$work"

if [ ! -d /usr/share/openclipart/png ] || [ ! -d /usr/share/openclipart/svg ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update
    $sudo apt-get install -y openclipart-png openclipart-svg
fi
python3 -c "import PIL" 2>/dev/null || python3 -m pip install pillow

cargo build --release
assent=(target/release/assent --registry "$work/assent.db")
if [ ! -f "$work/drawings/summary.json" ]; then
    python3 scripts/prepare_openclipart.py "$work/drawings"
fi
"${assent[@]}" ingest "$work/drawings"
if ! "${assent[@]}" snapshot show base >/dev/null 2>&1; then
    "${assent[@]}" snapshot create base --policy configs/policy-open-licences.toml
fi
"${assent[@]}" train-base configs/base.toml --out "$work/model" --resume
"${assent[@]}" snapshot export base -o "$work/snapshot.json"
