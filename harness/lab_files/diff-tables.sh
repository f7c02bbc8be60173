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
changed=$(git -c core.quotePath=off diff --relative --no-renames --name-only "$since" -- luts | sed -n 's|/[^/]*$||p' | sort -u)
cd "$work"
printf '%s\n' "$changed" | while IFS= read -r table; do
  if [ -f "before/$table/lut.json" ] && [ -f "after/$table/lut.json" ]; then
    ofa lut diff "before/$table" "after/$table" --markdown
  elif [ -f "after/$table/lut.json" ]; then
    printf '### New latency table: `%s`\n' "$table"
  elif [ -f "before/$table/lut.json" ]; then
    printf '### Latency table no longer here: `%s`\n' "$table"
  else
    continue
  fi
  echo
done
