"""Parts that several tabs of the page use."""
