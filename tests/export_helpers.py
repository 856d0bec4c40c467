"""A changed archive of a bundle, for the tests of the export."""

from covid_monai.bundle.bundle_zip import write_checksums, write_zip


def repacked(folder, *, digests=True):
    if digests:
        write_checksums(folder)
    path = folder.parent / "changed.zip"
    write_zip(folder, path)
    return path
