//! A share of the questions, for one of several machines.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};

use crate::score::Request;

/// Share i of n: `i/n` on the command line, i in 1..=n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

impl Shard {
    /// Which questions are in it. Each goes, the costliest first, to the share that has least so far: shares take about as
    /// long as one another, and anyone who has the questions finds the same ones.
    pub fn select(self, questions: &[Vec<Request>]) -> Vec<bool> {
        // Products go with the tokens, attention with their square: at a few thousand wide it is an eighth of the whole at
        // a thousand tokens.
        let cost = |requests: &Vec<Request>| -> usize {
            requests.iter().map(|r| r.tokens.len()).map(|tokens| tokens * (8000 + tokens)).sum()
        };
        let mut order: Vec<usize> = (0..questions.len()).collect();
        order.sort_by_key(|&nth| (Reverse(cost(&questions[nth])), nth));
        let mut shares = vec![0; self.of];
        let mut mine = vec![false; questions.len()];
        for nth in order {
            let least = (0..self.of).min_by_key(|&share| (shares[share], share)).unwrap_or(0);
            shares[least] += cost(&questions[nth]);
            mine[nth] = least + 1 == self.number;
        }
        mine
    }

    /// About how much of a whole falls to it.
    pub fn part_of(self, whole: u64) -> u64 {
        whole.div_ceil(self.of as u64)
    }
}

impl fmt::Display for Shard {
    /// As in the names of its files.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}-of-{}", self.number, self.of)
    }
}

impl FromStr for Shard {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = || {
            let (number, of) = text.split_once('/')?;
            Some(Self { number: number.parse().ok()?, of: of.parse().ok()? })
        };
        let shard = parts().with_context(|| format!("shard {text:?} is not i/n, such as 1/4"))?;
        let Self { number, of } = shard;
        ensure!((1..=of).contains(&number), "shard {text}: {number} is not in 1..={of}");
        ensure!(of <= 100_000, "shard {text}: more than 100000 shares");
        Ok(shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_disjoint_and_alike() {
        let request = |tokens: usize| Request { tokens: vec![0; tokens], prompt_tokens: 1, targets: vec![0] };
        let questions: Vec<Vec<Request>> = (0..100).map(|i| vec![request(5 + i * 37 % 90), request(9)]).collect();
        for of in [1, 3, 7] {
            let shares: Vec<Vec<bool>> = (1..=of).map(|number| Shard { number, of }.select(&questions)).collect();
            assert!((0..100).all(|nth| shares.iter().filter(|share| share[nth]).count() == 1));
            let tokens = |share: &Vec<bool>| -> usize {
                (0..100).filter(|nth| share[*nth]).map(|nth| questions[nth][0].tokens.len()).sum()
            };
            let all: Vec<usize> = shares.iter().map(tokens).collect();
            let (least, most) = (all.iter().min().unwrap(), all.iter().max().unwrap());
            assert!(most - least <= most / 10, "{all:?}");
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        assert_eq!("2/4".parse::<Shard>().unwrap().to_string(), "2-of-4");
        assert_eq!("2/4".parse::<Shard>().unwrap().part_of(21), 6);
        for bad in ["", "2", "0/4", "5/4", "1/0", "a/b", "1/2/3", "-1/2"] {
            let error = bad.parse::<Shard>().unwrap_err().to_string();
            assert!(error.contains("shard"), "{error}");
        }
    }
}
