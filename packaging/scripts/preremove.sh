#!/bin/sh
# Before removing: dpkg calls it with "remove", rpm with 0. An upgrade leaves the service as it is.
set -e

if [ "$1" = remove ] || [ "$1" = 0 ]; then
	if [ -d /run/systemd/system ]; then
		systemctl disable --now essad.service || true
	fi
fi
