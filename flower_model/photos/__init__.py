"""From untrusted files, bytes, pictures and arrays to the network's input pixels."""
