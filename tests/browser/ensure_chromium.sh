#!/bin/sh
# Debian's Chromium for the browser tests, installed where this machine allows it; without it they are skipped, loudly.
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing chromium for the browser tests"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; } \
        >/tmp/headway-chromium.log 2>&1 && exit 0
    tail -n 3 /tmp/headway-chromium.log
fi
echo "NO CHROMIUM: the browser tests will be SKIPPED. Install it (Debian: apt-get install chromium)."
