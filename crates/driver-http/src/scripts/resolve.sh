# Finds out whether the staging file $2 got the name $3, and sees to it that it does not any more if it has not. Answers
# "published" or "gone".
find_staging "$2"
rm -f "$staging/$2" || exit 73
if [ -f "$3" ]; then
    sync_entries || exit 74
    echo published
else
    echo gone
fi
