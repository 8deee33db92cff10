"""Official data sets, read as their authors publish them: one file each, a table of all, and what builds them."""
