"""The edition of the miniature, which a run reads without loading what writes it."""

#: Incremented when a data set is added or a row changes, so that cached miniatures are written
#: again.
EDITION = 3
