//! Units of systemd.
