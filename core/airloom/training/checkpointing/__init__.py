"""From what a killed training goes on to the same bits."""
