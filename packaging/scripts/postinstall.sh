#!/bin/sh
# After unpacking. dpkg calls it with "configure" and the version that was there before; rpm with the number of versions
# that are installed now.
set -e

case "$1" in
configure | [0-9]*) ;;
*) exit 0 ;; # dpkg undoing an upgrade: nothing to do
esac

if ! getent group essad >/dev/null; then
	groupadd --system essad
fi
if ! getent passwd essad >/dev/null; then
	useradd --system --gid essad --home-dir /var/lib/essad --no-create-home --shell /usr/sbin/nologin essad
fi

# The configuration may hold secrets of plugins.
chgrp essad /etc/essad /etc/essad/essad.hcl
chmod 0750 /etc/essad

first=no
if [ "$1" = 1 ] || { [ "$1" = configure ] && [ -z "$2" ]; }; then
	first=yes
fi

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	if [ $first = no ]; then
		systemctl try-restart essad.service || true
	fi
fi
if [ $first = yes ]; then
	echo "essad is installed. Start it with: systemctl enable --now essad"
	echo "To use it without sudo, add yourself to its group: usermod -aG essad USER"
fi
