"""What every other package uses: vocabulary, errors, atomic files, progress, threads, the JSON log."""
