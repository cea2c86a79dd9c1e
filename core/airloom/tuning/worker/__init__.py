"""One worker of a study: lanes that run trials in processes of their own."""
