# Removes the file $2. Answers "removed" or "absent".
if [ -e "./$2" ] || [ -L "./$2" ]; then
    rm -f "./$2" || exit 77
    sync_entries || exit 74
    echo removed
else
    echo absent
fi
