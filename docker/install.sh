#!/bin/sh
# install-role EXTRAS: this release with the extras of a role into /opt/airloom, as the lock pins it.
set -eu
/opt/pip/bin/pip --python /opt/airloom/bin/python install --no-cache-dir --disable-pip-version-check \
    --constraint /source/constraints.txt "/source[$1]"
