#!/bin/sh
# Makes .venv-bench, where the peers live, and .venv-bench-squirrel for the one that needs an older numpy. Does nothing
# for one that is there and whose recipe and this file are unchanged. PYTHON chooses the interpreter; with
# PENSTOCK_BENCH_PYTHON or PENSTOCK_BENCH_SQUIRREL set, that environment is yours to install.
set -eu
cd "$(dirname "$0")/.."

install() { "$home/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
is_stale() { ! cat "$recipe" "benchmarks/setup.sh" | cmp -s - "$home/.installed"; }
note_done() { cat "$recipe" "benchmarks/setup.sh" > "$home/.installed"; }
create() {
    "${PYTHON:-python3}" -m venv "$home"
    install "$(grep '^torch==' "$recipe")"
    install --requirement "$recipe" --constraint "$recipe"
}

home=.venv-bench
recipe=benchmarks/requirements.txt
if [ -z "${PENSTOCK_BENCH_PYTHON:-}" ] && is_stale; then
    create
    # The last torchdata with datapipes. Without dependencies (it runs on today's torch), and out of the way of
    # torchdata.nodes.
    rm -rf "$home/torchdata-0.9"
    install --no-deps --target "$home/torchdata-0.9" torchdata==0.9.0
    note_done
fi

home=.venv-bench-squirrel
recipe=benchmarks/requirements-squirrel.txt
if [ -z "${PENSTOCK_BENCH_SQUIRREL:-}" ] && is_stale; then
    create
    note_done
fi
