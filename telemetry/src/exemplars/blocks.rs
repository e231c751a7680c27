//! The memory that holds packed timelines: small blocks in chains, used again without asking the allocator.
//!
//! A chain wastes half a block on average, and whatever lengths come and go, nothing is ever too small or too large for the
//! place it finds.

/// Bytes of a block that hold something; with its link it is as long as a line of the processor's cache.
const ROOM: usize = 60;
/// Blocks that are taken from the allocator at once: 64 KiB.
const CHUNK: usize = 1_024;
/// The end of a chain, and of the list of free blocks.
const END: u32 = u32::MAX;

#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Block {
    next: u32,
    bytes: [u8; ROOM],
}

/// Where some bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    first: u32,
    len: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self { first: END, len: 0 }
    }
}

impl Chain {
    /// The memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.blocks() * size_of::<Block>()
    }

    /// How many bytes it holds.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    fn blocks(&self) -> usize {
        self.len().div_ceil(ROOM)
    }
}

/// All the blocks there are. They are never given back, so they are as many as were ever needed at once.
#[derive(Debug)]
pub(crate) struct Blocks {
    chunks: Vec<Box<[Block]>>,
    free: u32,
}

impl Default for Blocks {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: END }
    }
}

impl Blocks {
    /// Keeps a copy of these bytes, at most 4 GiB; none when there are as many blocks as can be numbered.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Option<Chain> {
        let mut chain = Chain { first: END, len: u32::try_from(bytes.len()).ok()? };
        // From the last piece to the first, so that each knows the next.
        let whole = bytes.len() / ROOM * ROOM;
        let (whole, rest) = bytes.split_at(whole);
        for piece in std::iter::once(rest).filter(|rest| !rest.is_empty()).chain(whole.rchunks(ROOM)) {
            let Some(place) = self.take() else {
                // What was linked so far is a chain of its own.
                while chain.first != END {
                    chain.first = self.give(chain.first);
                }
                return None;
            };
            let next = chain.first;
            let block = self.block_mut(place);
            block.next = next;
            block.bytes[..piece.len()].copy_from_slice(piece);
            chain.first = place;
        }
        Some(chain)
    }

    /// Writes the bytes of a chain behind what `out` holds.
    pub(crate) fn read(&self, chain: &Chain, out: &mut Vec<u8>) {
        let (mut at, mut left) = (chain.first, chain.len());
        while left > 0 {
            let block = &self.chunks[at as usize / CHUNK][at as usize % CHUNK];
            let piece = left.min(ROOM);
            out.extend_from_slice(&block.bytes[..piece]);
            left -= piece;
            at = block.next;
        }
    }

    /// Takes a chain's blocks back.
    pub(crate) fn free(&mut self, chain: Chain) {
        let mut at = chain.first;
        for _ in 0..chain.blocks() {
            at = self.give(at);
        }
    }

    /// Puts a block before the free ones; gives what it was linked to.
    fn give(&mut self, place: u32) -> u32 {
        let free = std::mem::replace(&mut self.free, place);
        std::mem::replace(&mut self.block_mut(place).next, free)
    }

    fn take(&mut self) -> Option<u32> {
        if self.free == END {
            let first = self.chunks.len() * CHUNK;
            // The number that means the end is no block's.
            let last = u32::try_from(first + CHUNK).ok()? - 1;
            let first = last + 1 - CHUNK as u32;
            let block = |place: u32| Block { next: if place == last { END } else { place + 1 }, bytes: [0; ROOM] };
            self.chunks.push((first..=last).map(block).collect());
            self.free = first;
        }
        let place = self.free;
        self.free = self.block_mut(place).next;
        Some(place)
    }

    fn block_mut(&mut self, place: u32) -> &mut Block {
        &mut self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_block_fills_a_line_of_the_cache() {
        assert_eq!((size_of::<Block>(), Chain { first: 0, len: 61 }.size()), (64, 128));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever comes and goes, each chain reads back as it was put, and no more blocks are made than were needed at once.
        #[test]
        fn chains_keep_what_they_hold(lengths in prop::collection::vec(0_usize..400, 1..200), keep in 1_usize..9) {
            let mut blocks = Blocks::default();
            let mut kept: VecDeque<(Vec<u8>, Chain)> = VecDeque::new();
            for (n, length) in lengths.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + n * 31) as u8).collect();
                let chain = blocks.put(&bytes).expect("there is room");
                prop_assert_eq!((chain.len(), chain.size()), (length, length.div_ceil(60) * 64));
                kept.push_back((bytes, chain));
                if kept.len() > keep {
                    let (_, chain) = kept.pop_front().expect("one was put");
                    blocks.free(chain);
                }
                for (bytes, chain) in &kept {
                    let mut out = vec![1];
                    blocks.read(chain, &mut out);
                    prop_assert_eq!(&out[1..], &bytes[..]);
                }
            }
            prop_assert!(blocks.chunks.len() <= 1);
        }
    }
}
