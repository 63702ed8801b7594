#!/usr/bin/env bash
# The style of one artist of Openclipart, who has the most drawings there, on a base that never saw them: files an opt-out
# for the artist, trains a base on what is left, then trains an adapter on the artist's drawings alone. About 50 minutes
# on two free cores; what is stopped goes on when it is run again.
#
# usage: scripts/style_adapter.sh [WORK]      (default: target/style; curve and sheet are in WORK/run and WORK afterwards)
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-target/style}
artist="Nicu Buculei"
mkdir -p "$work"

cargo build --release
if [ ! -f "$work/drawings/summary.json" ]; then
    python3 scripts/prepare_openclipart.py "$work/drawings"
fi
assent=$PWD/target/release/assent
policy=$PWD/configs/policy-open-licences.toml

# The base: everybody but the artist, and nothing that shows what a drawing of the artist shows.
others=("$assent" --registry "$work/others.db")
if [ ! -d "$work/model/unet" ]; then
    if [ ! -f "$work/others.db" ]; then
        "${others[@]}" ingest "$work/drawings"
        "${others[@]}" opt-out --artist "$artist"
    fi
    "${others[@]}" snapshot show base >/dev/null 2>&1 || "${others[@]}" snapshot create base --policy "$policy"
    sed -e "s#^model = .*#model = \"$PWD/datasets/base\"#" \
        -e 's/^max_train_steps = 2500/max_train_steps = 1600/' \
        -e 's/^max_train_steps = 3200/max_train_steps = 2400/' configs/base.toml >"$work/base.toml"
    "${others[@]}" train-base "$work/base.toml" --out "$work/model" --resume
fi

# The adapter: the artist's own registry, which holds nothing else.
own=("$assent" --registry "$work/artist.db")
if [ ! -d "$work/artist" ]; then
    mkdir "$work/artist.part"
    grep -lx "SPDX-FileCopyrightText: $artist" "$work"/drawings/*.license | while read -r licence; do
        cp "$licence" "${licence%.license}" "${licence%.png.license}.txt" "$work/artist.part/"
    done
    mv "$work/artist.part" "$work/artist"
fi
"${own[@]}" ingest "$work/artist"
"${own[@]}" snapshot show artist >/dev/null 2>&1 || "${own[@]}" snapshot create artist --policy "$policy"
cp configs/style.toml "$work/style.toml"
[ -f "$work/run/run.json" ] || "${own[@]}" train "$work/style.toml" --out "$work/run" --resume
"${own[@]}" generate --base "$work/model" --adapter "$work/run/adapter.safetensors" --sheet "$work/sheet.png" \
    --steps 30 --cfg 4 --seed 7 --prompt "card, recreation, games, cards, white" --prompt "smiley, people, smilies" \
    --prompt "arrow, shapes, arrows" --prompt "clock, signs and symbols" --prompt "book, education"
"${own[@]}" audit "$work/run/adapter.safetensors"
