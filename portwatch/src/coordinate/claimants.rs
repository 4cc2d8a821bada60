//! Which of many claims on paths are in each other's way.

use std::collections::{BTreeSet, HashMap};

use super::overlap;

/// Who claims what is in the way of each of these claims, a claim's own claimants among them. A claimant is a number of the caller's.
/// Sorted once, and looked through once: each claim is compared with those that it lies in, and with no other.
pub fn claimants(mut claims: Vec<(&str, usize)>) -> HashMap<&str, BTreeSet<usize>> {
    claims.sort_by(|(one, _), (other, _)| outer_first(one).cmp(outer_first(other)));
    let mut found: HashMap<&str, BTreeSet<usize>> = HashMap::new();
    // Those that the present one lies in, the outermost first, and who claims just them.
    let mut around: Vec<(&str, BTreeSet<usize>)> = Vec::new();
    for same in claims.chunk_by(|(one, _), (other, _)| one == other) {
        let Some(&(path, _)) = same.first() else { continue };
        while around.pop_if(|(outer, _)| !overlap(path, outer)).is_some() {}
        let own: BTreeSet<usize> = same.iter().map(|&(_, who)| who).collect();
        for (outer, _) in &around {
            found.entry(outer).or_default().extend(&own);
        }
        let here = around.iter().flat_map(|(_, theirs)| theirs).chain(&own).copied().collect();
        found.insert(path, here);
        around.push((path, own));
    }
    found
}

/// What lies in a directory comes right after it, before what has a longer name that begins the same: paths hold no NUL.
fn outer_first(path: &str) -> impl Iterator<Item = u8> {
    path.trim_end_matches('/').bytes().map(|byte| if byte == b'/' { 0 } else { byte })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it is defined: each with each.
    fn each_with_each<'a>(claims: &[(&'a str, usize)]) -> HashMap<&'a str, BTreeSet<usize>> {
        let mut found = HashMap::new();
        for &(path, _) in claims {
            let meets = claims.iter().filter(|(other, _)| overlap(path, other));
            found.insert(path, meets.map(|&(_, who)| who).collect());
        }
        found
    }

    #[test]
    fn a_claim_meets_the_same_path_what_it_lies_in_and_what_lies_in_it() {
        let claims = [("/p", 0), ("/p/a", 1), ("/p/a", 2), ("/p-b", 3), ("/p/ab", 4), ("/q", 0)];
        let found = claimants(claims.to_vec());
        assert_eq!(found["/p"], BTreeSet::from([0, 1, 2, 4]));
        assert_eq!(found["/p/a"], BTreeSet::from([0, 1, 2]));
        assert_eq!(found["/p-b"], BTreeSet::from([3]));
        assert_eq!(found["/q"], BTreeSet::from([0]));
    }

    #[test]
    fn sorted_and_each_with_each_are_of_one_opinion() {
        // Every path of up to three of these names, which begin alike and sort before and after the slash.
        let names = ["", "/a", "/a-", "/ab", "/a0", "/é"];
        let mut paths = vec!["/".to_owned()];
        for one in names {
            for two in names {
                paths.extend(
                    names.map(|three| format!("{one}{two}{three}")).into_iter().filter(|p| !p.is_empty()),
                );
            }
        }
        for step in 1..40 {
            let pick = paths.iter().enumerate().filter(|(at, _)| (at * 31 + step * 17) % 101 < 2 * step);
            let claims: Vec<(&str, usize)> = pick.map(|(at, path)| (path.as_str(), at % 11)).collect();
            assert!(!claims.is_empty());
            assert_eq!(claimants(claims.clone()), each_with_each(&claims), "step {step}");
        }
    }

    #[test]
    fn of_a_drive_all_that_lies_on_it() {
        let found = claimants(vec![("C:/p", 0), ("D:/p", 1), ("C:", 2)]);
        assert_eq!((found["C:"].len(), found["D:/p"].len()), (2, 1));
    }
}
