#!/usr/bin/env bash
# The README's picture: the viewer on the four real cameras of the Pose2Sim trial (needs the data pack and the model).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-docs/viewer.png}
after=${2:-5}
bin=$PWD/.venv/bin
folder=$(mktemp -d)
trap 'kill "$graph" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
repository=$PWD
(cd "$folder" && exec "$bin/kinefuse" run "$repository/graphs/pose2sim_single.yaml" --headless) &
graph=$!
export LIBGL_ALWAYS_SOFTWARE=1 QT_QPA_PLATFORM=xcb
xvfb-run -a -s "-screen 0 1920x1200x24" \
    "$bin/kinefuse" view pose2sim-single --wait 60 --png "$out" --after "$after" --size 1280x800 --overwrite \
    --show ellipsoids,centre_of_mass --panel angles
