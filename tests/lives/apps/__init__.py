"""The programs that are lived: small, and as users write them; each keeps a book of what it accepted."""
