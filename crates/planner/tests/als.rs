//! ALS: its exact optimum against all policies, and what a bandit pays to learn it.

mod common;

use common::{INSTANCES, close, plain_decoder};
use splitbench_planner::*;

fn random_table(random: &mut SplitMix) -> RewardTable {
    let (rates, cuts) = (1 + random.below(4), 1 + random.below(5));
    let mut cell = |always: bool| (always || random.unit() < 0.8).then(|| random.range(-1.0, 1.0));
    RewardTable {
        cuts: (1..=cuts).collect(),
        rewards: (0..rates).map(|_| (0..cuts).map(|cut| cell(cut == 0)).collect()).collect(),
    }
}

#[test]
fn the_optimum_is_the_best_of_all_policies() {
    for seed in 0..INSTANCES {
        let mut random = SplitMix::new(seed);
        let table = random_table(&mut random);
        let (rates, cuts) = (table.rewards.len(), table.cuts.len());
        let states: Vec<usize> = (0..20).map(|_| random.below(rates)).collect();
        // A policy is a cut for each state of the link.
        let paid = |policy: usize| -> Option<f64> {
            states.iter().map(|&state| table.rewards[state][policy / cuts.pow(state as u32) % cuts]).sum()
        };
        let best = (0..cuts.pow(rates as u32)).filter_map(paid).fold(f64::NEG_INFINITY, f64::max);
        let exact: f64 = states.iter().map(|&state| table.best(state).1).sum();
        assert!((exact - best).abs() < 1e-9, "seed {seed}: {exact} and {best}");
    }
}

#[test]
fn regret_is_counted_against_the_optimum() {
    for seed in 0..INSTANCES {
        let mut random = SplitMix::new(seed);
        let table = random_table(&mut random);
        let states: Vec<usize> = (0..50).map(|_| random.below(table.rewards.len())).collect();
        let rule = if seed % 2 == 0 { BanditRule::Ucb(0.5) } else { BanditRule::EpsilonGreedy(0.1) };
        let setting = BanditSetting { rule, sees_link: seed % 3 == 0, noise: 0.1, seed };
        let run = run_bandit(&table, &states, setting).unwrap();
        let mut regret = 0.0;
        for (time, (&state, &column)) in states.iter().zip(&run.columns).enumerate() {
            let reward = table.rewards[state][column].expect("only cuts that can be chosen are");
            let best = table.rewards[state].iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!(reward <= best);
            regret += best - reward;
            assert!(close(run.regret[time], regret) || regret < 1e-12, "seed {seed}");
        }
        assert_eq!(run, run_bandit(&table, &states, setting).unwrap(), "seed {seed}: a seed gives one run");
    }
}

/// A decoder that loses less at later cuts, with a milder and a harder ratio at each.
fn lossy_decoder() -> SplitProblem {
    let mut problem = plain_decoder(10, 0.01, 0.001, 100e3, 1e7);
    for choice in problem.choices.clone().iter().filter(|choice| (1..10).contains(&choice.after_layer)) {
        for (ratio, kl) in [(4.0, 0.02), (16.0, 0.2)] {
            let mut coded = choice.clone();
            (coded.codec, coded.ratio) = ("fc".into(), Some(ratio));
            coded.prompt.bytes /= ratio;
            coded.loss.kl_nats = Some(kl / choice.after_layer as f64);
            problem.choices.push(coded);
        }
    }
    problem
}

#[test]
fn a_worse_link_moves_the_cut_away_from_the_input() {
    // The paper's result: with more noise the split moves from the input to the output.
    let table = reward_table(&lossy_decoder(), &[20e6, 5e6, 1e6], 0.1, AlsWeights::default()).unwrap();
    let cuts: Vec<usize> = (0..3).map(|rate| table.cuts[table.best(rate).0]).collect();
    assert_eq!(cuts, [1, 2, 5]);
    // Raw activations fit at 20 Mbit/s: nothing is lost, so the reward is that of the load alone.
    assert!(close(table.best(0).1, 0.9));
    // At 5 Mbit/s ratio 4 is needed, which loses 0.02 / 2 after layer 2.
    assert!(close(table.best(1).1, 10.5 * (1.0 - 0.01f64.exp()) + 0.8));
}

#[test]
fn privacy_and_links_that_carry_nothing_take_cuts_away() {
    let mut problem = lossy_decoder();
    problem.limits.min_layer = 4;
    let table = reward_table(&problem, &[1e4], 0.1, AlsWeights::default()).unwrap();
    // Nothing arrives in time at 10 kbit/s, so all layers stay on the client.
    assert_eq!(table.cuts, (4..=10).collect::<Vec<usize>>());
    assert_eq!((table.cuts[table.best(0).0], table.best(0).1), (10, 0.0));
    problem.choices.pop();
    problem.choices.retain(|choice| choice.after_layer < 10);
    let error = reward_table(&problem, &[1e4], 0.1, AlsWeights::default()).unwrap_err().to_string();
    assert!(error.contains("no packet with a measured KL arrives within 0.1 s"), "{error}");
}

/// Regret over 4,000 times of a link that changes among three rates, a mean over 20 seeds: in total, and in the second half.
fn mean_regret(rule: BanditRule, sees_link: bool) -> (f64, f64) {
    let table = reward_table(&lossy_decoder(), &[20e6, 5e6, 1e6], 0.1, AlsWeights::default()).unwrap();
    let (mut total, mut late) = (0.0, 0.0);
    for seed in 0..20 {
        let mut link = SplitMix::new(1_000 + seed);
        let states: Vec<usize> = (0..4_000).map(|_| link.below(3)).collect();
        let run = run_bandit(&table, &states, BanditSetting { rule, sees_link, noise: 0.2, seed }).unwrap();
        total += run.regret[3_999] / 20.0;
        late += (run.regret[3_999] - run.regret[1_999]) / 20.0;
    }
    (total, late)
}

/// `cargo test --release -p splitbench-planner --test als what_learning -- --nocapture` prints the regrets.
#[test]
fn what_learning_costs_under_a_changing_link() {
    let rules = [("ucb", BanditRule::Ucb(0.1)), ("epsilon-greedy", BanditRule::EpsilonGreedy(0.1))];
    let mut totals = Vec::new();
    for (name, rule) in rules {
        for sees_link in [true, false] {
            let (total, late) = mean_regret(rule, sees_link);
            println!("{name}, sees the link: {sees_link}: regret {total:.1}, of it {late:.1} in the second half");
            totals.push((total, late));
        }
    }
    // UCB that sees the link learns: less and less is lost. Exploring at a fixed share goes on losing.
    assert!(totals[0].1 < 0.3 * totals[0].0, "{totals:?}");
    assert!(totals[2].1 > 0.4 * totals[2].0, "{totals:?}");
    // Who does not see the link has one answer for all rates, and loses at the same pace for ever.
    assert!(totals[1].0 > totals[0].0 && totals[1].1 > 0.35 * totals[1].0, "{totals:?}");
}

#[test]
fn bad_bandits_are_refused() {
    let table = random_table(&mut SplitMix::new(1));
    let setting = BanditSetting { rule: BanditRule::Ucb(0.1), sees_link: true, noise: 0.1, seed: 1 };
    let error =
        |table: &RewardTable, states: &[usize], setting| run_bandit(table, states, setting).unwrap_err().to_string();
    assert!(error(&table, &[99], setting).contains("not one of"));
    assert!(error(&table, &[0], BanditSetting { noise: f64::NAN, ..setting }).contains("noise of a reward is NaN"));
    let rule = BanditRule::EpsilonGreedy(1.5);
    assert!(error(&table, &[0], BanditSetting { rule, ..setting }).contains("epsilon is 1.5"));
    let mut broken = table.clone();
    broken.rewards[0][0] = Some(f64::NAN);
    assert!(error(&broken, &[0], setting).contains("no number"));
    let problem = lossy_decoder();
    assert!(reward_table(&problem, &[0.0], 0.1, AlsWeights::default()).unwrap_err().to_string().contains("is 0"));
    assert!(reward_table(&problem, &[], 0.1, AlsWeights::default()).unwrap_err().to_string().contains("no rate"));
}
