#!/bin/sh
# Makes the missing keys, and gives each reader a copy of exactly the keys that it needs.
#
#     hand-out-keys FOLDER [OPTION OF `lockgate keys init`]...
#
# The whole set lies in LOCKGATE_KEYS__DIRECTORY, which no reader sees: keep and back up that one. Each folder in FOLDER
# has the name of its reader: "gateway" gets the key ring, and each reader gets the links that start or end at it.
# May be run again at any time: present keys stay, and keys that have left the set are taken back.
set -eu
umask 077

set_of_keys=$LOCKGATE_KEYS__DIRECTORY
readers=$1
shift

# give FILE FOLDER: appears whole or not at all, so that it can be read at any moment; the same file is left alone.
give() {
    mkdir -p "$2"
    if ! cmp -s "$1" "$2/${1##*/}"; then
        cp "$1" "$2/.new"
        mv "$2/.new" "$2/${1##*/}"
    fi
}

# take_back FOLDER FROM: removes what FROM does not have (any more).
take_back() {
    for copy in "$1"/*.*; do
        if [ -e "$copy" ] && [ ! -e "$2/${copy##*/}" ]; then
            rm "$copy"
        fi
    done
}

lockgate keys init "$@"

for folder in "$readers"/*/; do
    folder=${folder%/}
    name=${folder##*/}
    for link in "$set_of_keys/links/$name"--*.json "$set_of_keys"/links/*--"$name".json; do
        if [ -e "$link" ]; then
            give "$link" "$folder/links"
        fi
    done
    take_back "$folder/links" "$set_of_keys/links"
    if [ "$name" = gateway ]; then
        # The ring names the key files, so it comes after the new ones and before the old ones go.
        for key in "$set_of_keys"/signing/*.pem; do
            give "$key" "$folder/signing"
        done
        give "$set_of_keys/refresh.json" "$folder"
        give "$set_of_keys/ring.json" "$folder"
        take_back "$folder/signing" "$set_of_keys/signing"
    fi
done
