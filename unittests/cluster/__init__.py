"""Tests of zerocloud.cluster: settings, folder, confs, cache; no Swift."""
