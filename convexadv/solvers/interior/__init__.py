"""A primal-dual interior point method for programmes over activation patterns.

The programme is  minimise  sum_b beta t_b + sum_g p_g loss_g  over blocks v_b in cones, where a group g sees the blocks only
through a small image y_g. Auxiliary variables of blocks and groups (epigraphs of norms and losses) are eliminated in
batches, so the one large linear system is over the blocks: block diagonal plus what the images couple
(:mod:`.newton`). Iterates approach the cones from inside.
"""
