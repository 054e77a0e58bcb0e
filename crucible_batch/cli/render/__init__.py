"""What people read: results and errors as lines and tables. Everything from outside is shown as plain, clean text."""
