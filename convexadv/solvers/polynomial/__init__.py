"""Column generation over neurons, for polynomial problems.

Every component keeps a short list of neurons, refines them jointly, prices new ones by its dual point, and stops on its
certified gap. What it needs of the data it asks for as requests (:mod:`.requests`), which passes over the rows
(:mod:`.sweeps`) answer for all components at once. Small components are solved in full (:mod:`.in_full`), and larger
ones where column generation takes longer than that.
"""
