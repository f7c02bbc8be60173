#!/bin/sh
# Prints, as Markdown, what changed in every table since a commit: sh ci/diff-tables.sh origin/main. Needs git and ofa.
set -eu
since=${1:?is missing: the commit to compare with, such as origin/main}
cd "$(dirname "$0")/.."
if ! git rev-parse --verify --quiet "$since^{commit}" >/dev/null; then
  echo "'$since' is no commit that is here; in CI, fetch more of the history" >&2
  exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/before"
ln -s "$PWD" "$work/after"
if git cat-file -e "$since:./luts" 2>/dev/null; then
  git archive "$since" luts | tar -x -C "$work/before"
fi
changed=$(
  {
    git -c core.quotePath=off diff --relative --no-renames --name-only "$since" -- luts
    git -c core.quotePath=off ls-files --others --exclude-standard -- luts
  } | sed -n 's|/[^/]*$||p' | sort -u
)
cd "$work"
# A table that lacks one of its files is one all the same: 'ofa lut diff' says what it lacks.
is_table() { [ -f "$1/lut.json" ] || [ -f "$1/ops.csv" ]; }
printf '%s\n' "$changed" | while IFS= read -r table; do
  if is_table "before/$table" && is_table "after/$table"; then
    ofa lut diff "before/$table" "after/$table" --markdown
  elif is_table "after/$table"; then
    printf '### New latency table: `%s`\n' "$table"
  elif is_table "before/$table"; then
    printf '### Latency table no longer here: `%s`\n' "$table"
  else
    continue
  fi
  echo
done
