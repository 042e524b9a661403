//! Worked examples of the libraries, one file each beside this folder.
