//! "Did you mean …?"

/// The candidate that `word` was most likely meant to be, as a sentence; `None` when nothing is near enough.
///
/// Near means: equal but for case, or at most a third of the letters (and at most three) typed, dropped,
/// replaced or swapped. Ties go to the earlier candidate, so that the answer is stable.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // A hint for a word of a thousand letters is of no use, and the distance is quadratic.
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let lower: Vec<char> = word.to_lowercase().chars().collect();
    let bound = (lower.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 64 && *candidate != word)
        .map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().collect();
            (distance(&lower, &letters), candidate)
        })
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// Edits between two words: insertions, deletions, replacements and swaps of neighbours (optimal string
/// alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
