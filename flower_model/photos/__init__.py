"""From a file, bytes, picture or array that nobody has checked to the pixels that the network takes."""
