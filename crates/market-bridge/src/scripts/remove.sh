# Removes the file $2; with $3, one of that name in a staging directory of ours. Answers "removed" or "absent".
name=./$2
if [ -n "$3" ]; then
    find_staging "$2"
    name=$staging/$2
fi
if [ -e "$name" ] || [ -L "$name" ]; then
    rm -f "$name" || exit 77
    sync_entries || exit 74
    echo removed
else
    echo absent
fi
