#!/bin/sh
# After removing. What functions have stored is never deleted by a package manager.
set -e

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
if [ "$1" = purge ] && [ -d /var/lib/essad ]; then
	echo "essad: /var/lib/essad is left in place; delete it by hand if its data is no longer needed"
fi
