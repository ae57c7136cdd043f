# Gives the staging file $2 the name $3, in one step and never in place of another file. Answers "published", "exists" or "gone".
find_staging "$2"
if [ ! -f "$staging/$2" ]; then
    echo gone
    exit 0
fi
if ln "$staging/$2" "$3" 2>/dev/null; then
    rm -f "$staging/$2"
elif [ "$staging/$2" -ef "$3" ]; then
    # A network file system has done it, and lost its answer.
    rm -f "$staging/$2"
elif [ -e "$3" ]; then
    echo exists
    exit 0
else
    # A file system without links.
    mv -n "$staging/$2" "$3" || exit 73
fi
if [ ! -f "$3" ]; then
    echo gone
    exit 0
fi
# The system tells such a failure only once: no success any more.
if ! sync_entries; then
    rm -f "./$3"
    exit 74
fi
echo published
