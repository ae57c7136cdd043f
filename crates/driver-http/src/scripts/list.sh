# Lists files: "now <seconds>", then "published <bytes> <seconds> <name>" and "staged <bytes> <seconds> <busy> <name>", seconds
# counted since 1970. $2 is the pattern of published names.
echo "now $(date +%s)"
# Not quoted: a pattern.
for name in $2; do
    [ ! -f "$name" ] || [ -L "$name" ] || printf '%s\0' "$name"
done | xargs -0 -r sh -c 'stat -c "published %s %Y %n" "$@" 2>/dev/null; [ $? -le 1 ]' sh || exit 74
for staging in $(own_staging); do
    [ -d "$staging" ] && [ ! -L "$staging" ] || continue
    cd "$staging" || exit 77
    for name in *-*-*; do
        if [ ! -f "$name" ] || [ -L "$name" ]; then
            continue
        fi
        busy=0
        if command -v flock >/dev/null; then
            flock -n -s "$name" true || busy=1
        fi
        stat -c "staged %s %Y $busy %n" "./$name" || true
    done
    cd ..
done
