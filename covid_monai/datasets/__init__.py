"""From images on disk to a datalist: public collections, own folders, splits by patient."""
