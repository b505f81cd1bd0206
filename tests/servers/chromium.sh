#!/bin/bash
# The browser tests drive the system's Chromium: install it through apt where it is missing.
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if command -v apt-get >/dev/null && { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }; then
    echo "Installing Chromium for the browser tests ..."
    { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } \
        >/dev/null && exit 0
fi
echo "The browser tests need Chromium, which could not be installed from here: install the package chromium" \
    "(or google-chrome), then run this again." >&2
exit 1
