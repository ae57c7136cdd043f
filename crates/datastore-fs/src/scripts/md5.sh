# Hashes the file $2. Answers its MD5.
keep_saying_working
sum=$(md5sum <"$2") || exit 74
echo "${sum%% *}"
