"""Page elements that several tabs use."""
