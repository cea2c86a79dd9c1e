"""The user's project as code: which files a function stands on, what is installed, what git says of it."""
