"""Fuzzing with damaged and malicious files: photos, zips, results files and weights folders."""
