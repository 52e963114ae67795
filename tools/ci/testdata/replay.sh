#!/bin/sh
# Stands in for make: replay.sh FIRST SECOND TESTFLAGS=... prints the recording FIRST, or SECOND if tests are chosen by -run.
recording=$1
case $3 in *' -run '*) recording=$2 ;; esac
cat "$recording"
! grep -q '"Action":"fail"' "$recording"
