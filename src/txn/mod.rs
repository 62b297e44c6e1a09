//! (header to be written by the module's author)
